"""Building a lab from its plan: checks, then namespaces, links and addresses."""
