"""From a spec to a plan: interfaces, addresses, routes and reachability."""
