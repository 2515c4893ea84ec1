"""Look into models, bundles, images and reports, and draft a spec from what is seen."""
