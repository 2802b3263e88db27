"""One stream: mailbox, ledger, delivery to sinks, and the pipeline that runs them."""
