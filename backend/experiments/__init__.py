"""What is done with experiments: submit, reconcile, record, archive, rebuild."""
