"""The texts of e-mails, one module for each subject."""
