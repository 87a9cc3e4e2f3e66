"""Jobs: a YAML file and a command. The composition root, where every other layer meets."""
