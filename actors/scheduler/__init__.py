"""The scheduler: which hosts fit, best first, and why the others do not. It proposes; hosts dispose."""
