"""Starling's own API: the event stream and the operations, which no OpenStack API has."""
