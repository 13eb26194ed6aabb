//! Floor 6: from a YAML file to a plan: spec, check, plan.
