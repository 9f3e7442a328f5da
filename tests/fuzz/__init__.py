"""A gateway that is sent rubbish for a while, and has to be as before afterwards."""
