"""The queues of Kueue: which one admits a Job, why it waits there, and its place."""
