"""From raw purchase logs to a domain on disk: sources, filters, splits, store, audit."""
