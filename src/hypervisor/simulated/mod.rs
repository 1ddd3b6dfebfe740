//! A fleet as a function of a seed: demo, scale and fault injection.
