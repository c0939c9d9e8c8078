//! What is known of the Rivet Engine: metric families by release, canonical names, limits, error codes.
