"""What `casemate up` does before it serves: engine, sandbox image, web page, first admin.

For: getting a machine from nothing to ready, telling a person what happens, and saying in a
sentence what is missing. Decisions are pure (`engine_plan`, parts of `web_page`); what touches the
machine stands beside them. Not for: anything that happens while Casemate serves.
"""
