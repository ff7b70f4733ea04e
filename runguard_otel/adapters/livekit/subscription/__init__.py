"""track_subscribe: one STT stream per source of a participant, however often its track flaps."""
