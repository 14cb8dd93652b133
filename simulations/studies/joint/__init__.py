"""Study protocols with joint noise for public cohorts, as data: their settings are `simulations.joint_recipe`'s."""
