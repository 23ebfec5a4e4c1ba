package PVE::API2;

# Stands for all of Proxmox's API, of which loading takes its time: the simulated node says how long.
use strict;
use warnings;
use PVE::SimulatedNode;

PVE::SimulatedNode::ask('load');

1;
