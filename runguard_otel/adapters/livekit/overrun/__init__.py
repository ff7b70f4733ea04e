"""Sessions that go on too long: an agent alone, a silent caller, an end that does not come."""
