"""What happened in a call: kept as it happens, judged again, shown.

A job writes lines of JSON (:mod:`.book`) while its policies decide (:mod:`.taped`) and its recorder
reports (:mod:`.recorder`); its worker keeps them (:mod:`.keeper`, :mod:`.files`). Read back
(:mod:`.reading`), the inputs go through the same policies again (:mod:`.replay`), and all of it
becomes a picture (:mod:`.timeline`) or advice (:mod:`.advice`).
"""
