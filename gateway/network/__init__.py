"""The Networking API v2.0, first slice: reading networks, subnets, ports and default security groups."""
