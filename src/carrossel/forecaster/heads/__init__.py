"""Heads: what the network's last numbers mean. One file adds one head."""
