"""Webhooks: whom to notify, and of what."""
