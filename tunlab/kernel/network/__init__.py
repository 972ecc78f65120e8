"""The network of a namespace: links, addresses, routes, neighbours, queues, firewall and counters."""
