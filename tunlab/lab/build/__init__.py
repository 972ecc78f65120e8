"""Building a lab: namespaces, links and addresses from a plan, and the checks before."""
