"""The actors: what each kind of long-lived thing does when it hears something."""
