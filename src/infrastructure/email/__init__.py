"""E-mails: content, composition, transports."""
