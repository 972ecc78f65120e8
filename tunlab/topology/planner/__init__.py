"""Planning a lab: computing its interfaces, addresses, routes and reachability from a spec."""
