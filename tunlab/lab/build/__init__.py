"""Build a lab from its plan: check limits, then create namespaces, links and addresses."""
