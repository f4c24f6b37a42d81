"""Problems: where they come from (:mod:`selfstudy.problems.sources`) and how they are split."""
