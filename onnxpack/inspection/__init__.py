"""Looking into models, bundles, images and reports, and drafting a spec from what is seen."""
