"""A Proxmox VE node in a box: what the demo and the tests talk to in place of a real cluster."""
