"""The device around the runtime: sources, sinks, profiles, the host, the command."""
