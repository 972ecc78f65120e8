"""IP headers, their extension headers, and tunnels."""
