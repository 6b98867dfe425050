"""A site's own machine: how it joins a consortium."""
