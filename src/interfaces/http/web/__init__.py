"""HTML pages: the sandbox checkout, the return from a checkout, the answer to an invitation."""
