"""The declarative pipeline over `granet`: DVC stages, parameters, tracking and the report."""
