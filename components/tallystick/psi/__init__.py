"""Private set intersection: which rows do all parties hold?"""
