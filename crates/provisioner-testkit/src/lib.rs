//! Test tools that no program links.
