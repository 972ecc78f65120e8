"""A planned lab as a drawing: text, Mermaid, DOT or SVG."""
