"""Plan a lab: compute its interfaces, addresses, routes and reachability from the content of its lab file."""
