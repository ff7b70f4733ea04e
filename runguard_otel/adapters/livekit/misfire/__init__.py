"""vad_misfire: results without speech, from the recogniser to the veto of a turn."""
