"""Measurements that need a cluster, or the API server of one."""
