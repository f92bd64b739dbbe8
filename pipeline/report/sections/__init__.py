"""The report's sections: blocks that every renderer prints. What they say stands in sentences.yaml."""
