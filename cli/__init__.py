"""The composition root: the ``starling`` command, which alone knows all roles."""
