"""MST-Distill itself: losses, MaskNets, the router and the three stages."""
