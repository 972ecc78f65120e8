"""Draw a planned lab as text, Mermaid, DOT or SVG."""
