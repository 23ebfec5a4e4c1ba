"""CyberLab: the portal through which a university runs its cyber-security labs on Proxmox VE."""

__version__ = "0.1.0"
