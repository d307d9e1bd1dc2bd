"""From recordings on disk to paired features in memory."""
