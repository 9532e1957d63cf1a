"""A training under way: round by round or event by event, evaluated when it is due, saved now and then."""
