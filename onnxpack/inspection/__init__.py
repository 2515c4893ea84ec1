"""Looks into models, bundles, images and reports, and drafts a spec from what is seen."""
