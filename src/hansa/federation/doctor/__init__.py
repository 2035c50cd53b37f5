"""The doctor: what a node finds when it looks at itself, as a list, as a signed report and as OSCAL."""
