"""The report's sections, sentence by sentence: blocks that every renderer prints."""
