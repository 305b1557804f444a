"""Every call to a server goes through here: connections, limits, errors. Nothing else imports an HTTP library."""
